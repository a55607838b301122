"""Which input may write which output, so that no two inputs write the same file.

`bigpipe.claims.register` has the rules. The other modules hold its names, and
`bigpipe.claims.folder_claims` replaces it where workers cannot ask.
"""
