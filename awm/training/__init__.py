"""How V, M and the feature map's head are trained: one loop, a recipe for each."""
