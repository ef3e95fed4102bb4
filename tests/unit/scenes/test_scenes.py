"""The procedural scenes: same seed, same bytes; labels that match the drawing; two domains that differ in looks."""

import dataclasses
import hashlib
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dakpn.errors import UsageError
from dakpn.scenes import CLASS_NAMES, RoadClass, Scene, photograph, render_scene, write_dataset
from dakpn.scenes.camera import sample_shot, take_photograph
from dakpn.scenes.canvas import SUPERSAMPLING, Canvas
from dakpn.scenes.ground import GroundPlan
from dakpn.scenes.layout import StreetPlan, plan_street
from dakpn.scenes.objects.building import Building
from dakpn.scenes.objects.vehicle import Vehicle
from dakpn.scenes.palettes import BRITISH, SYNTHETIC
from dakpn.scenes.scene import draw_plan
from dakpn.scenes.view import View

SMALL = (96, 128)
render_small = partial(render_scene, size=SMALL)


@pytest.fixture(scope="module")
def many_scenes() -> list[Scene]:
    return [render_small(seed) for seed in range(24)] + [photograph(seed, SMALL) for seed in range(16)]


def digest(scene: Scene) -> str:
    return hashlib.sha256(scene.image.tobytes() + scene.label.tobytes()).hexdigest()


def empty_street() -> StreetPlan:
    """A straight road seen from its middle, with nothing on it."""
    view = View(
        width=SUPERSAMPLING * SMALL[1],
        height=SUPERSAMPLING * SMALL[0],
        focal=SUPERSAMPLING * SMALL[1],
        horizon=SUPERSAMPLING * 40.0,
        eye_x=0.0,
        eye_height=1.5,
        curve=0.0,
        heading=0.0,
    )
    return StreetPlan(view, GroundPlan(road_half_width=4.0, pavement_width=3.0, grass_verge=True), ())


def draw(plan: StreetPlan) -> Scene:
    return draw_plan(plan, SMALL, SYNTHETIC, np.random.default_rng(0))


def label_at(scene: Scene, view: View, x: float, y: float, z: float) -> RoadClass:
    column, row = (int(coordinate / SUPERSAMPLING) for coordinate in view.project(x, y, z))
    return RoadClass(int(scene.label[row, column]))


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    program = (
        "import hashlib\n"
        "from dakpn.scenes import photograph, render_scene\n"
        "render_scene(99)\n"  # what was drawn before must not matter
        "for draw in (render_scene, photograph):\n"
        "    scene = draw(7)\n"
        "    print(hashlib.sha256(scene.image.tobytes() + scene.label.tobytes()).hexdigest())\n"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", program]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.split()
    assert elsewhere == [digest(render_scene(7)), digest(photograph(7))]


def test_other_seeds_give_other_streets() -> None:
    assert len({render_small(seed).label.tobytes() for seed in range(8)}) == 8


@pytest.mark.parametrize("size", [(192, 256), (97, 131), (16, 16), (64, 200), (90, 41)])
@pytest.mark.parametrize("renderer", [render_scene, photograph])
def test_any_size_is_filled(renderer, size: tuple[int, int]) -> None:
    scene = renderer(5, size=size)
    assert scene.image.shape == (*size, 3)
    assert scene.label.shape == size
    assert scene.image.dtype == scene.label.dtype == np.uint8
    assert (scene.label != RoadClass.VOID).all()


def test_every_class_appears_and_void_practically_never(many_scenes: list[Scene]) -> None:
    counts = sum(np.bincount(scene.label.ravel(), minlength=256) for scene in many_scenes)
    present = sorted(np.flatnonzero(counts[: RoadClass.VOID]))
    assert [CLASS_NAMES[class_id] for class_id in present] == list(CLASS_NAMES)
    assert counts[RoadClass.VOID] < 0.01 * counts.sum()
    assert counts[RoadClass.VOID + 1 :].sum() == 0


def test_the_sky_is_above_the_horizon_and_the_road_below() -> None:
    for seed in range(8):
        height, width = SMALL
        plan = plan_street(np.random.default_rng(seed), SUPERSAMPLING * width, SUPERSAMPLING * height)
        label, horizon = draw(plan).label, plan.view.horizon / SUPERSAMPLING
        sky_rows, road_rows = np.nonzero(label == RoadClass.SKY)[0], np.nonzero(label == RoadClass.ROAD)[0]
        assert sky_rows.max() <= horizon + 1
        assert road_rows.min() >= horizon - 1


def test_the_ground_is_labelled_where_the_view_projects_it() -> None:
    plan = empty_street()
    scene = draw(plan)
    assert label_at(scene, plan.view, 0.0, 0.0, 8.0) == RoadClass.ROAD
    assert label_at(scene, plan.view, 3.9, 0.0, 12.0) == RoadClass.ROAD
    assert label_at(scene, plan.view, -4.6, 0.0, 12.0) == RoadClass.PAVEMENT
    assert label_at(scene, plan.view, 8.0, 0.0, 20.0) == RoadClass.TREE  # grass is vegetation in CamVid
    assert label_at(scene, plan.view, 0.0, 4.0, 20.0) == RoadClass.SKY


def test_a_car_covers_its_silhouette_and_nothing_else() -> None:
    street = empty_street()
    car = Vehicle(x=0.0, distance=8.0, kind="hatchback", scale=1.0, rear_seen=True)
    before, after = draw(street), draw(dataclasses.replace(street, objects=(car,)))
    changed = before.label != after.label
    assert set(np.unique(after.label[changed])) == {RoadClass.CAR}
    rows, columns = np.nonzero(changed)
    left, _ = street.view.project(-0.85, 0.5, 8.0)
    right, bottom = street.view.project(0.85, 0.0, 8.04)
    _, top = street.view.project(0.0, 1.46, 9.95)
    found = (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
    assert found == pytest.approx([edge / SUPERSAMPLING for edge in (left, right, top, bottom)], abs=1.01)


def test_what_is_nearer_hides_what_is_farther() -> None:
    street = empty_street()
    near = Vehicle(x=0.0, distance=6.0, kind="van", scale=1.0, rear_seen=True)
    far = Vehicle(x=0.0, distance=20.0, kind="hatchback", scale=1.0, rear_seen=True)
    alone, both = (
        draw(dataclasses.replace(street, objects=(near,))),
        draw(dataclasses.replace(street, objects=(far, near))),
    )
    assert np.array_equal(alone.label, both.label)


def test_a_wall_ends_where_its_corners_project() -> None:
    street = empty_street()
    house = Building(near=14.0, far=22.0, left=5.0, right=14.0, height=4.0, ridge=0.0, storey=3.0, chimneys=())
    scene = draw(dataclasses.replace(street, objects=(house,)))
    along_the_road, facing_the_camera = [(5.0, z) for z in (14.5, 17.0, 21.0)], [(x, 14.0) for x in (5.3, 6.5)]
    for x, z in along_the_road + facing_the_camera:
        assert label_at(scene, street.view, x, 3.7, z) == RoadClass.BUILDING
        assert label_at(scene, street.view, x, 4.6, z) == RoadClass.SKY


def test_a_label_pixel_takes_the_class_that_covers_most_of_it() -> None:
    canvas = Canvas((1, 2))
    labels = np.array([[3, 8, 2, 3], [8, 8, 3, 3]], np.uint8)
    canvas.cover(0, np.zeros((2, 4, 3)), labels)
    assert canvas.finish().label.tolist() == [[8, 3]]


def test_a_look_moves_nothing() -> None:
    for seed in range(6):
        synthetic, british = render_small(seed), render_small(seed, look=BRITISH)
        assert np.array_equal(synthetic.label, british.label)
        assert not np.array_equal(synthetic.image, british.image)


def test_the_camera_keeps_edges_in_place() -> None:
    scene = render_scene(3)
    rng = np.random.default_rng(3)
    photo = take_photograph(scene, sample_shot(rng), rng)
    assert np.array_equal(photo.label, scene.label)

    def edges(image: np.ndarray) -> np.ndarray:
        rows = np.abs(np.diff(np.log1p(image.mean(axis=-1)), axis=0))
        return rows - rows.mean()

    before, after = edges(scene.image), edges(photo.image)
    agreement = [(before * np.roll(after, shift, axis=0)).mean() for shift in range(-4, 5)]
    assert int(np.argmax(agreement)) == 4  # no shift


def test_the_domains_differ_in_color_but_not_in_content() -> None:
    synthetic = [render_small(seed) for seed in range(12)]
    photographs = [photograph(seed, SMALL) for seed in range(12)]

    def saturation(scenes: list[Scene]) -> float:
        return float(np.mean([np.ptp(scene.image.astype(int), axis=-1).mean() for scene in scenes]))

    def road_share(scenes: list[Scene]) -> float:
        return float(np.mean([(scene.label == RoadClass.ROAD).mean() for scene in scenes]))

    assert saturation(photographs) < 0.6 * saturation(synthetic)
    assert road_share(photographs) == pytest.approx(road_share(synthetic), abs=0.12)
    assert not np.array_equal(synthetic[0].label, photographs[0].label)  # the domains are unpaired


def test_a_dataset_is_laid_out_like_camvid_and_is_the_same_in_parallel(tmp_path: Path) -> None:
    parallel, serial = tmp_path / "parallel", tmp_path / "serial"
    write_dataset(parallel, 3, 40, render_small, split="train", processes=2)
    write_dataset(serial, 3, 40, render_small, split="train", processes=1)
    files = sorted(path.relative_to(parallel).as_posix() for path in parallel.rglob("*") if path.is_file())
    names = [f"train/{seed:06d}.png" for seed in (40, 41, 42)]
    assert files == [f"images/{name}" for name in names] + [f"labels/{name}" for name in names]
    assert all((parallel / file).read_bytes() == (serial / file).read_bytes() for file in files)

    scene = render_small(41)
    with Image.open(parallel / "images" / names[1]) as image, Image.open(parallel / "labels" / names[1]) as label:
        assert label.mode == "L"
        assert np.array_equal(np.asarray(image), scene.image)
        assert np.array_equal(np.asarray(label), scene.label)


def test_a_dataset_without_a_split_has_no_split_folder(tmp_path: Path) -> None:
    write_dataset(tmp_path, 1, 0, render_small, processes=1)
    assert (tmp_path / "images" / "000000.png").is_file()
    assert (tmp_path / "labels" / "000000.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "at least 1"),
        ({"first_seed": -1}, "negative"),
        ({"split": "../up"}, "plain folder name"),
        ({"processes": 0}, "at least 1"),
    ],
)
def test_wrong_dataset_arguments_are_refused(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_dataset(tmp_path, **({"count": 1, "first_seed": 0, "renderer": render_small} | arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("renderer", [render_scene, photograph])
def test_wrong_scene_arguments_are_refused(renderer) -> None:
    with pytest.raises(UsageError, match="negative"):
        renderer(-1)
    with pytest.raises(UsageError, match="at least 16 pixels"):
        renderer(0, size=(8, 64))
