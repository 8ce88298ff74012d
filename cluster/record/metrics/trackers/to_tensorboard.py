"""TensorBoard: event files in `tensorboard/` of the run directory, written without torch and without a thread.

TensorBoard drops the points after a step that is undone: the next event file says from where on.
"""

import os
import struct
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from cluster.record.metrics.trackers.tracker import COLUMNS, LONGEST, Row, Tracked, cells, flat


class TensorBoard:
    """The event files of one attempt; curves, texts and pictures."""

    package: ClassVar[str] = "tensorboard"
    known: int | None = None

    def __init__(self, run: Tracked) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.event, self.summary, self.tensor, self.shape = event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2
        folder = run.folder / "tensorboard"
        folder.mkdir(exist_ok=True)
        stamp = f"events.out.tfevents.{int(time.time()):010d}.{os.uname().nodename}.{os.getpid()}"
        path = next(path for number in count() if not (path := folder / f"{stamp}.{number}").exists())
        # The writer closes it. Unbuffered, so that a full disk shows in the call that meets it.
        self.file: Any = RecordWriter(path.open("wb", buffering=0))
        self.id, self.url = run.id, str(folder)
        self._write(file_version="brain.Event:2")
        if run.resumed:
            self.rewind(run.sent)
        else:
            self._text("config", 0, [["key", "value"], *([key, str(value)] for key, value in flat(run.config).items())])

    @staticmethod
    def destination(folder: Path, offline: bool) -> str:
        return "tensorboard/"

    def rewind(self, step: int) -> None:
        """Let TensorBoard drop every point after `step`."""
        log = self.event.SessionLog(status=self.event.SessionLog.START)
        self._write(step=step + 1, session_log=log)

    def scalars(self, lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        for step, values in lines:
            points = [self.summary.Summary.Value(tag=key, simple_value=value) for key, value in values.items()]
            self._write(step=step, summary=self.summary.Summary(value=points))

    def responses(self, step: int, rows: Sequence[Row]) -> None:
        self._text("responses", step, [list(COLUMNS), *cells(step, rows)])

    def picture(self, name: str, path: Path, step: int) -> None:
        data = path.read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        image = self.summary.Summary.Image(encoded_image_string=data, width=width, height=height, colorspace=4)
        self._write(step=max(step, 0), summary=self.summary.Summary(value=[self.summary.Summary.Value(tag=name, image=image)]))

    def health(self, step: int, text: str) -> None:
        self._text("health", step, [["step", "what"], [step, text]])

    def close(self) -> None:
        self.file.close()

    def _write(self, **event: Any) -> None:
        self.file.write(self.event.Event(wall_time=time.time(), **event).SerializeToString())

    def _text(self, tag: str, step: int, table: Sequence[Sequence[Any]]) -> None:
        """A table of texts, of which the first row has the names."""
        plugin = self.summary.SummaryMetadata.PluginData(plugin_name="text")
        cells = [str("" if cell is None else cell)[:LONGEST].encode("utf-8", "backslashreplace") for row in table for cell in row]
        sizes = (len(table), len(table[0]))
        shape = self.shape.TensorShapeProto(dim=[self.shape.TensorShapeProto.Dim(size=size) for size in sizes])
        tensor = self.tensor.TensorProto(dtype="DT_STRING", string_val=cells, tensor_shape=shape)
        metadata = self.summary.SummaryMetadata(plugin_data=plugin)
        value = self.summary.Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)
        self._write(step=step, summary=self.summary.Summary(value=[value]))
