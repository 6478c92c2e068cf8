"""Server-sent events: a tenant is told what changed for it, the moment it does.

`sources` says what a list of changes is (configuration's is in `changes`, others bring their own),
`hub` holds the streams of a process, `asgi` serves them.
"""
