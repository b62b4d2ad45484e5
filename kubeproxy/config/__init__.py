"""KubeProxyConfiguration: from a file or from flags to the settings of this program."""
