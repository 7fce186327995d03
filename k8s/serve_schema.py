"""Serve's configuration as we write it, and nothing else: Ray's own schema takes unknown keys and ignores them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Seconds = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ActorOptions(Strict):
    """label_selector: never absent, or a replica could run where its share of a GPU means another memory."""

    num_cpus: float = Field(gt=0)
    num_gpus: float = Field(default=0.0, ge=0, le=1)
    memory: int = Field(gt=0)
    label_selector: dict[str, str] = Field(min_length=1)
    runtime_env: dict[Literal["env_vars"], dict[str, str]] = Field(default_factory=dict)


class Policy(Strict):
    policy_function: str = Field(pattern=r"^[\w.]+:\w+$")
    policy_kwargs: dict[str, Any] = Field(default_factory=dict)


class Autoscaling(Strict):
    min_replicas: int = Field(ge=0)
    max_replicas: int = Field(ge=1)
    initial_replicas: int | None = Field(default=None, ge=0)
    target_ongoing_requests: float = Field(gt=0)
    look_back_period_s: Seconds
    metrics_interval_s: Seconds | None = None
    upscale_delay_s: float = Field(ge=0)
    downscale_delay_s: float = Field(ge=0)
    downscale_to_zero_delay_s: float = Field(ge=0)
    upscaling_factor: float | None = Field(default=None, gt=0)
    downscaling_factor: float | None = Field(default=None, gt=0)
    aggregation_function: Literal["mean", "max", "min"] = "mean"
    policy: Policy | None = None

    @model_validator(mode="after")
    def _does_not_flap(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"expected least replicas up to {self.max_replicas}, got {self.min_replicas}")
        shortest = min(self.upscale_delay_s, self.downscale_delay_s, self.downscale_to_zero_delay_s)
        if shortest < self.look_back_period_s:
            raise ValueError(f"expected delays of at least {self.look_back_period_s} s, got {shortest}")
        return self


class Deployment(Strict):
    name: Name
    ray_actor_options: ActorOptions
    autoscaling_config: Autoscaling
    max_ongoing_requests: int = Field(ge=1)
    max_queued_requests: Annotated[int, Field(ge=1)] | Literal[-1]  # -1: without end
    health_check_period_s: Seconds
    health_check_timeout_s: Seconds
    graceful_shutdown_wait_loop_s: Seconds
    graceful_shutdown_timeout_s: Seconds


class Application(Strict):
    """One deployment, of the same name."""

    name: Name
    import_path: str = Field(pattern=r"^[\w.]+:\w+$")
    args: dict[Literal["model", "flow"], Name]
    route_prefix: Literal["/"] | None
    deployments: list[Deployment] = Field(min_length=1, max_length=1)

    @model_validator(mode="after")
    def _has_one_name(self) -> Self:
        names = {self.name, self.deployments[0].name, *self.args.values()}
        if len(names) != 1:
            raise ValueError(f"expected one name, got {sorted(names)}")
        return self


class HTTPOptions(Strict):
    host: str
    port: int = Field(ge=1, le=65535)
    request_timeout_s: int = Field(ge=1)
    keep_alive_timeout_s: int = Field(ge=1)


class Logging(Strict):
    encoding: Literal["JSON", "TEXT"]
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    enable_access_log: bool


class ServeConfig(Strict):
    proxy_location: Literal["EveryNode", "HeadOnly"]
    http_options: HTTPOptions
    logging_config: Logging
    applications: list[Application] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_and_routes_are_single(self) -> Self:
        names = [of.name for of in self.applications]
        if len(names) != len(set(names)):
            raise ValueError(f"expected each application once, got {sorted(n for n in names if names.count(n) > 1)}")
        routed = [of.name for of in self.applications if of.route_prefix is not None]
        if len(routed) != 1:
            raise ValueError(f"expected one application with a route, got {routed}")
        return self
