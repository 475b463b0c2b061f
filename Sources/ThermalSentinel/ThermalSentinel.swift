// The room `ThermalSentinel`; see docs/architecture.md.
