"""One folder per model, one line per model here; which model plays which role, by edition.

Models are named by their import path, so that a replica imports its own model and no other.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from deployments.base import Model
from modiste.settings import settings
from modiste.spec import EngineSpec, Resources
from weights.licences import require_commercial

if TYPE_CHECKING:
    from compile.engine import Engine

MODELS: Mapping[str, str] = {
    "blazeface": "deployments.blazeface.model:BlazeFace",
    "centerface": "deployments.centerface.model:CenterFace",
    "retinaface_mobilenet": "deployments.retinaface.model:RetinaFaceMobileNet",
    "retinaface_r50": "deployments.retinaface.model:RetinaFaceR50",
    "face_mesh": "deployments.face_mesh.model:FaceMeshModel",
    "bisenet_v2": "deployments.bisenet_v2.model:BiSeNetV2",
    "bisenet_r18": "deployments.bisenet_r18.model:BiSeNetR18",
    "unet_lapa": "deployments.unet_lapa.model:UNetLaPa",
    "dlib_resnet": "deployments.dlib_resnet.model:DlibResNet",
    "arcface": "deployments.arcface.model:ArcFace",
    "mobile_stylegan": "deployments.mobile_stylegan.model:MobileStyleGAN",
    "latent_encoder": "deployments.latent_encoder.model:LatentEncoder",
    "stylegan2_ada": "deployments.stylegan2_ada.model:StyleGAN2Ada",
    "stylegan2_rosinality": "deployments.stylegan2_ada.model:StyleGAN2Rosinality",
    "e4e": "deployments.e4e.model:E4E",
    "real_esrgan": "deployments.real_esrgan.model:RealESRGAN",
    "gpen": "deployments.gpen.model:GPEN",
    "mesh_swap": "deployments.mesh_swap.model:MeshSwap",
    "faceshifter": "deployments.faceshifter.model:FaceShifter",
    "faceshifter_hear": "deployments.faceshifter.hear:FaceShifterHear",
    "copart": "deployments.copart.model:CoPart",
    "region_makeup": "deployments.region_makeup.model:RegionMakeup",
    "beautygan": "deployments.beautygan.model:BeautyGAN",
    "psgan": "deployments.psgan.model:PSGAN",
    "blazepose": "deployments.blazepose.model:BlazePose",
    "lightweight_openpose": "deployments.lightweight_openpose.model:LightweightOpenPose",
    "posenet_101": "deployments.posenet.model:PoseNet",
    "selfie_multiclass": "deployments.selfie_multiclass.model:SelfieMulticlass",
    "graphonomy": "deployments.graphonomy.model:Graphonomy",
    "schp_lip": "deployments.schp.model:SCHPLip",
    "schp_atr": "deployments.schp.model:SCHPAtr",
    "densepose": "deployments.densepose.model:DensePoseRCNN",
    "u2net": "deployments.u2net.model:U2Net",
    "u2net_published": "deployments.u2net.published:U2NetPublished",
    "u2netp": "deployments.u2net.published:U2NetP",
    "isnet_general": "deployments.isnet.model:ISNet",
    "modnet_portrait": "deployments.modnet.model:MODNet",
    "cloth_unet": "deployments.cloth_unet.model:ClothUNet",
    "cloth_u2net": "deployments.u2net.garments:ClothU2Net",
    "limb_tps": "deployments.limb_tps.model:LimbTPS",
    "layer_composer": "deployments.layer_composer.model:LayerComposer",
    "hrviton_tocg": "deployments.hrviton.warp:HRVITONConditions",
    "hrviton_gen": "deployments.hrviton.synthesis:HRVITONGenerator",
    "suit_collage": "deployments.suit_collage.model:SuitCollage",
    "paint_by_example": "deployments.paint_by_example.model:PaintByExample",
    "line_art": "deployments.line_art.model:LineArt",
    "dexined": "deployments.dexined.model:DexiNed",
    "teed": "deployments.teed.model:TEED",
    "ldc": "deployments.ldc.model:LDC",
    "pix2pix_garment": "deployments.pix2pix_garment.model:Pix2PixGarment",
    "pix2pix_unet": "deployments.pix2pix_unet.model:Pix2PixUNet",
    "efficientnet_lite0": "deployments.efficientnet_lite0.model:EfficientNetLite0",
    "fashion_siglip": "deployments.fashion_siglip.model:FashionSigLIP",
    "fashion_clip": "deployments.fashion_clip.model:FashionCLIP",
}

EDITIONS: Mapping[str, Mapping[str, str]] = {
    "default": {
        "FaceDetection": "blazeface",
        "SmallFaceDetection": "centerface",
        "FaceLandmarks": "face_mesh",
        "FaceParsing": "bisenet_v2",
        "IdentityEmbedding": "dlib_resnet",
        "FaceGeneration": "mobile_stylegan",
        "LatentEncoding": "latent_encoder",
        "FaceRestoration": "real_esrgan",
        "FaceSwap": "mesh_swap",
        "PartSwap": "mesh_swap",
        "MakeupTransfer": "region_makeup",
        "PoseEstimation": "blazepose",
        "HumanParsing": "selfie_multiclass",
        "Matting": "u2net",
        "GarmentMask": "u2net",
        "GarmentWarp": "limb_tps",
        "GarmentSynthesis": "layer_composer",
        "SuitComposition": "suit_collage",
        "EdgeDetection": "line_art",
        "SketchToGarment": "pix2pix_garment",
        "FashionEmbedding": "efficientnet_lite0",
    },
    "paper": {
        "FaceDetection": "retinaface_mobilenet",
        "SmallFaceDetection": "retinaface_r50",
        # Of no published system: dense landmarks, for what those systems took from other detectors.
        "FaceLandmarks": "face_mesh",
        "FaceParsing": "bisenet_r18",
        "IdentityEmbedding": "arcface",
        "FaceGeneration": "stylegan2_ada",
        "LatentEncoding": "e4e",
        "FaceRestoration": "gpen",
        "FaceSwap": "faceshifter",
        "PartSwap": "copart",
        "MakeupTransfer": "beautygan",
        "PoseEstimation": "lightweight_openpose",
        "HumanParsing": "graphonomy",
        "DensePose": "densepose",
        "Matting": "isnet_general",
        "GarmentMask": "cloth_unet",
        "GarmentWarp": "hrviton_tocg",
        "GarmentSynthesis": "hrviton_gen",
        "SuitComposition": "paint_by_example",
        "EdgeDetection": "dexined",
        "SketchToGarment": "pix2pix_unet",
        "FashionEmbedding": "fashion_siglip",
    },
}


def model_for(role: str) -> str:
    """The id of the model that plays `role` under the current settings.

    raises: KeyError for a role, an edition or a model that does not exist
    """
    model = settings().models.get(role) or EDITIONS[settings().edition][role]
    if model not in MODELS:
        raise KeyError(f"expected one of {sorted(MODELS)} for {role}, got {model}")
    return model


def is_played(role: str) -> bool:
    """Whether the edition in use has a model for the role; all have one for those that no flow can do without."""
    return role in settings().models or role in EDITIONS[settings().edition]


def model_folder(model_id: str) -> str:
    """The folder in `deployments` that holds a model; one holds several where they are variants of each other."""
    return MODELS[model_id].split(".")[1]


@cache
def model_class(model_id: str) -> type[Model[Any, Any]]:
    module, _, name = MODELS[model_id].partition(":")
    found: type[Model[Any, Any]] = getattr(import_module(module), name)
    return found


def models_in_use() -> tuple[str, ...]:
    """The models that play the edition's roles under the current settings, each once."""
    return tuple(dict.fromkeys(model_for(role) for role in EDITIONS[settings().edition]))


def engine_name(model_id: str, name: str) -> str:
    return model_id if name == "main" else f"{model_id}.{name}"


def engine_specs() -> dict[str, EngineSpec]:
    """Every engine of the models in use, as "model" or "model.engine" where a model has several."""
    specs = {}
    for model_id in models_in_use():
        for name, spec in model_class(model_id).spec.engines.items():
            specs[engine_name(model_id, name)] = spec
    return specs


def threads_of(resources: Resources) -> int:
    """CPU threads of one engine, and of what surrounds it."""
    return settings().threads or max(1, round(resources.cpus))


def open_model(model_id: str, around: Callable[[str, str, "Engine"], "Engine"] | None = None) -> Model[Any, Any]:
    """Open the model's engines (built where the cache has none) and the model on top of them.

    around: put around each engine, from the model's id and the engine's name
    raises: LicenceRefused under MODISTE_COMMERCIAL_ONLY, wherever and by whatever it is opened
    """
    found = model_class(model_id)
    if not found.spec.engines:
        return found({})
    require_commercial(engine.weights for engine in found.spec.engines.values())
    from deployments.engines import open_engines  # costs 60 MB, which classical models need not pay

    opened = open_engines(model_id)
    return found(opened if around is None else {name: around(model_id, name, opened[name]) for name in opened})
