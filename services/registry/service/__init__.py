"""The registry's use cases, independent of API and storage; one module per kind of object."""
