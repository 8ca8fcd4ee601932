"""Adapters of the OTA service: object stores, disk cache, tables, image server, registry client, patches, signer."""
