"""The list of MaxText's keys is that of the installed MaxText."""

import json
import os

from maxtext_ext import bridge
from maxtext_ext.keys.maxtext import FILE, configs_folder
from setup.maxtext_keys import describe


def test_the_list_is_maxtexts():
  found = describe(bridge.MaxTextConfig, bridge.derived_keys())
  assert json.loads(FILE.read_text()) == found, "run: python -m setup.maxtext_keys"


def test_its_files_are_found_without_importing_it():
  assert os.path.isfile(os.path.join(configs_folder(), "base.yml"))
