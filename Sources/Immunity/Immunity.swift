// The room `Immunity`; see docs/architecture.md.
