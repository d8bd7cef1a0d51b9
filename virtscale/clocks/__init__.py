"""`virtscale clock`: a house for trying things out has a clock that can be moved ahead."""
