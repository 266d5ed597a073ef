"""Render a list of services as text: shows that the packages of requirements.txt are there."""

from pathlib import Path

import jinja2
import yaml

TEMPLATE = """\
{% for service in services -%}
{{ service.name }}: {{ service.replicas }} {{ "replica" if service.replicas == 1 else "replicas" }}
{% endfor -%}
"""

services = yaml.safe_load(Path(__file__).with_name("services.yaml").read_text(encoding="utf-8"))
print(jinja2.Template(TEMPLATE).render(services=services), end="")
