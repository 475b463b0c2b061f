// The room `Runtime`; see docs/architecture.md.
