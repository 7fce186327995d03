"""Network + weights -> engine. Import submodules only: a bare `import compile` would shadow the builtin."""
