"""`virtscale freeze`, `thaw` and `freezes`: pools stand still for a while."""
