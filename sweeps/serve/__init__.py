"""A page on a study's champion: draw a digit or drop a picture, and see what the ensemble and each member make of it.

Werkzeug alone, which comes with MLflow, serves it: four addresses need no framework, and it starts in two thirds of the
time of Flask or of Starlette with uvicorn. The page is plain HTML, CSS and JavaScript, and asks for nothing from
elsewhere.
"""

from __future__ import annotations

from sweeps.serve.app import App
from sweeps.serve.champion import Champion
from sweeps.serve.server import serve

__all__ = ["App", "Champion", "serve"]
