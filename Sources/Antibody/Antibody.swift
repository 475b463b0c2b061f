// The room `Antibody`; see docs/architecture.md.
