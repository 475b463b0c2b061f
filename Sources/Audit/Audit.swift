// The room `Audit`; see docs/architecture.md.
