"""The services of the mesh, the domain that they share and the chassis that they stand on."""
