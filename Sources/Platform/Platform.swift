// The room `Platform`; see docs/architecture.md.
