// The room `Operator`; see docs/architecture.md.
