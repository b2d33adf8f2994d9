"""The codec as a service: HTTP and WebSockets, and a page to hear and see it; docs/service.md says how to use it.

The way of a request: ``guard`` lets it in, ``admission`` gives it a place and memory, ``bodies`` takes its bytes,
``recordings`` and ``codes`` read them in threads beside the event loop, ``worker`` codes them, chunk by chunk, with
whatever else is waiting, and ``problems`` says what went wrong. Importing this does no work.
"""
