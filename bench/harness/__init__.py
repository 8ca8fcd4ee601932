"""What every benchmark stands on: the format of results, rounds that alternate, processes, identities, a mesh."""
