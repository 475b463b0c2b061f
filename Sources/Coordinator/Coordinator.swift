// The room `Coordinator`; see docs/architecture.md.
