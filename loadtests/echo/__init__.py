"""What HTTP, a flow and a model cost when the model does nothing, by how Ray is set up."""

TEXT = "modiste " * 1280
"""10 kB, as in the published measurements."""
