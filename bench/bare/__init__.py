"""The bare loop: the smallest programs that do the same work of a broker without a framework, and are as safe."""
