"""Work that needs care on any machine: files that are written whole or not at all."""

from sne.work.atomic import check_can_write as check_can_write
from sne.work.atomic import check_can_write_folder as check_can_write_folder
from sne.work.atomic import replacing as replacing
from sne.work.atomic import sync as sync
from sne.work.atomic import write_atomically as write_atomically
