"""What the demonstration asks for: one row per request. "@name" stands for the first token of an earlier answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request. uploads: field -> path below samples/; save_token: the name under which the first token is kept."""

    flow: str
    title: str
    uploads: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    save_token: str | None = None


CASES = (
    Case(flow="virtual_faces", title="Nine virtual faces", options={"n": 9, "seed": 7}, save_token="any"),
    Case(
        flow="virtual_faces",
        title="Faces that suit the person in the photo, best first",
        uploads={"photo": "portraits/astronaut.jpg"},
        options={"n": 3, "seed": 11},
        save_token="astronaut",
    ),
    Case(
        flow="virtual_faces",
        title="New faces near the person in the photo, made for her",
        uploads={"photo": "portraits/astronaut.jpg"},
        options={"n": 3, "like": "near", "seed": 4},
    ),
    Case(
        flow="virtual_model",
        title="A photograph with a virtual model",
        uploads={"photo": "portraits/astronaut.jpg"},
        options={"face": "@astronaut"},
    ),
    Case(
        flow="virtual_model",
        title="A store photo with a virtual model",
        uploads={"photo": "store/store_dress_terracotta.jpg"},
        options={"face": "@any"},
    ),
    Case(
        flow="try_on",
        title="A coral T-shirt",
        uploads={"person": "persons/ana.jpg", "garment": "garments/g03_tee_coral_women.jpg"},
    ),
    Case(
        flow="try_on",
        title="A shirt with long sleeves",
        uploads={"person": "persons/ken.jpg", "garment": "garments/g14_shirt_check_men.jpg"},
    ),
    Case(
        flow="try_on",
        title="A dress",
        uploads={"person": "persons/nia.jpg", "garment": "garments/g11_dress_navy_dots.jpg"},
    ),
    Case(flow="anonymize", title="A picture", uploads={"image": "portraits/astronaut.jpg"}, options={"seed": 3}),
    Case(flow="anonymize", title="A clip with two people", uploads={"video": "video/head_turn_two.mp4"}),
    Case(
        flow="id_photo",
        title="A suit ID photo, 35 x 45 mm",
        uploads={"portrait": "portraits/astronaut.jpg"},
        options={"suit": "f_suit_black", "size": "35x45mm"},
    ),
    Case(
        flow="id_photo",
        title="A suit ID photo, US visa",
        uploads={"portrait": "persons/leo.jpg"},
        options={"suit": "m_suit_navy", "size": "us_2x2in"},
    ),
    *(
        Case(flow="sketch_search", title=title, uploads={"sketch": f"sketches/{name}.png"})
        for name, title in (
            ("tshirt_red", "A T-shirt with red strokes"),
            ("trousers_blue", "Trousers with blue strokes"),
            ("skirt_green", "A skirt with green strokes"),
            ("hat_brown", "A hat: the sample shop sells none, so nothing is found"),
            ("dress_plain", "A dress without colour"),
        )
    ),
)
