"""`virtscale vm`: what concerns one VM."""
