// The room `Bus`; see docs/architecture.md.
