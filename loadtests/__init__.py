"""Benchmarks as commands: figures come from here and from nowhere else."""
