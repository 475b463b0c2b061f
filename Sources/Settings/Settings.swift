// The room `Settings`; see docs/architecture.md.
