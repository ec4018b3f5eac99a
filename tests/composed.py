"""The judge of composed configs: Hydra, asked from the start and for all of a command at once."""

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from erp.compose import conf_folder


def hydra_s(program, overrides):
    """What Hydra alone makes of overrides that it can parse."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_folder())):
        return OmegaConf.to_container(compose(program, overrides=list(overrides)), resolve=True)
