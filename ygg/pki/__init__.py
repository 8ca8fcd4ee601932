"""The mesh's own certificate authorities: root → device CA, service CA, user CA."""
