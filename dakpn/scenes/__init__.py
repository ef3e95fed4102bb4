"""Procedural road scenes with exact labels, in two visual domains.

`render_scene` draws computer graphics: saturated colors, clean surfaces, sunshine. `photograph` shows other
streets with muted materials under British weather through a simulated camera: the domain gap in small,
without any download. Everything is drawn here with numpy and Pillow, and the seed decides all of it.
"""

from dakpn.scenes.canvas import Scene
from dakpn.scenes.classes import CLASS_NAMES, RoadClass
from dakpn.scenes.dataset import Renderer, write_dataset
from dakpn.scenes.photograph import photograph
from dakpn.scenes.scene import render_scene

__all__ = ["CLASS_NAMES", "Renderer", "RoadClass", "Scene", "photograph", "render_scene", "write_dataset"]
