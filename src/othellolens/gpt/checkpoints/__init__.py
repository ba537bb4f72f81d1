"""Checkpoints: one small file a form, recognised by content.

`weights` reads a file of tensors, whatever its form, and runs nothing that is in it;
`transformerlens` and `mingpt` say which tensors make a model; `own` is our
artifact; `forms` chooses.
"""
