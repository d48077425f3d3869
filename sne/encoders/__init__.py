"""Network encoders: SNE itself."""

from sne.encoders.contract import NetworkEncoder as NetworkEncoder
