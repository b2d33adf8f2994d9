"""The codec as a service: HTTP, WebSockets, and a page to hear and see it. docs/service.md is the user's guide.

A request passes through these modules in order: ``guard`` checks who is asking, ``admission`` reserves a slot and
memory, ``bodies`` receives the bytes, ``recordings`` and ``codes`` parse them in reader threads, ``worker`` runs the
codec on whatever is queued, and ``problems`` turns errors into responses. Importing this package does no work.
"""
