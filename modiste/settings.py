"""Everything that is configured from outside, as MODISTE_* environment variables."""

from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from modiste.spec import Precision, Target


class Settings(BaseSettings):
    """Read once per process; tests clear the cache of `settings()` to change it."""

    model_config = SettingsConfigDict(env_prefix="MODISTE_", frozen=True)

    cache: Path = Field(default_factory=lambda: user_cache_path("modiste"), description="weights and engines")
    state: Path = Field(default_factory=lambda: user_data_path("modiste"), description="jobs, files, catalogue")
    samples: Path = Field(
        default=Path(__file__).resolve().parent.parent / "samples", description="pictures and suits that come along"
    )
    offline: bool = Field(default=False, description="never reach for the network; fail if something is missing")
    commercial_only: bool = Field(default=False, description="refuse weights that are not free for commercial use")
    edition: str = Field(default="default", description="which set of models plays the roles")
    models: dict[str, str] = Field(
        default_factory=dict, description='single roles overridden, as JSON {"role": "model"}'
    )
    target: Target = Field(default="openvino", description="what engines of models that run on GPUs are built with")
    engine_store: str = Field(
        default="",
        pattern=r"^(s3://[^/\s]+(/\S*)?)?$",
        description="s3://bucket/prefix where machines share built engines; empty: they do not",
    )
    engine_secret: SecretStr = Field(
        default=SecretStr(""), description="what engines are sealed with; the same on all machines that share a store"
    )
    precisions: dict[str, Precision] = Field(
        default_factory=dict,
        description='what single models compute in, where the parity gate lets them, as JSON {"model": "float16"}',
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of one engine; unset: as many as its model declares cores"
    )
    gpu_memory_mb: int = Field(default=0, ge=0, description="memory of one GPU (2**20 bytes); 0: models run on the CPU")
    gpu_reserve_mb: int = Field(
        default=1024, ge=0, description="of each GPU, left free: the driver's own, and what fragmentation costs"
    )
    mps: bool = Field(default=False, description="CUDA's multi-process service runs: tell it each replica's limits")
    gather: bool | None = Field(
        default=None, description="collect concurrent calls into batches; unset: where engines run batches at once"
    )
    replicas: dict[str, tuple[int, int]] = Field(
        default_factory=dict, description='least and most replicas of single deployments, as JSON {"try_on": [1, 8]}'
    )
    downscale_delay_s: float = Field(
        default=300.0, ge=15, description="how long fewer replicas must be enough before one ends; the last: twice that"
    )
    tenants: Path | None = Field(default=None, description="who may use the server (api/tenants.py); unset: everybody")
    deadline_s: float = Field(default=60.0, gt=0, description="how long an answer is waited for; then work on it ends")
    concurrency: dict[str, int] = Field(
        default_factory=dict,
        description='requests that are let in at once through one proxy, by flow, as JSON {"try_on": 20}',
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least that serving processes log; info: a line for every call"
    )
    logs: Path | None = Field(
        default=None, description="file that serving processes append their lines to; unset: standard error"
    )
    metrics_port: int | None = Field(
        default=None, ge=1, le=65535, description="where this machine's Ray shows its metrics; unset: where it likes"
    )
    jobs_at_once: int = Field(default=1, ge=1, description="jobs that run side by side")
    max_upload_bytes: int = Field(default=20_000_000, ge=1)
    max_video_bytes: int = Field(default=500_000_000, ge=1)
    max_pixels: int = Field(default=40_000_000, ge=1)
    keep_hours: float = Field(default=24.0, gt=0, description="how long results and finished jobs are kept")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)

    @model_validator(mode="after")
    def _engines_are_shared_sealed(self) -> Self:
        if self.engine_store and not self.engine_secret.get_secret_value():
            raise ValueError(
                "expected MODISTE_ENGINE_SECRET with MODISTE_ENGINE_STORE, got none: engines can execute code, and "
                "whoever can write to the bucket could run theirs here"
            )
        if self.engine_store and self.offline:
            raise ValueError("expected MODISTE_ENGINE_STORE or MODISTE_OFFLINE, got both: the store is reached for")
        return self


@lru_cache(maxsize=1)
def settings() -> Settings:
    return Settings()
