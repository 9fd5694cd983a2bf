"""Composition: the command line and the pipeline that join the parts; the only package that imports all others."""
