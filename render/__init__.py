"""The hand as a surface, and what a depth camera sees of it.

Hand model files and the posed mesh, collision spheres, the rasteriser and the point-to-surface distance (each with
several back ends behind one interface), the sampler of plausible hands, forearm and occluders, and sensor noise.
"""
