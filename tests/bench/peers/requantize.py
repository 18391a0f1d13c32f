"""python requantize.py FROM.gguf TO.gguf: every Q4_1 tensor as Q4_0, all else as it is."""
import sys

import gguf


def copy_field(writer, field):
    if field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
        return  # the writer's own
    kind = field.types[0]
    writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)


def main(source, target):
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.get_field(gguf.Keys.General.ARCHITECTURE).contents())
    for field in reader.fields.values():
        copy_field(writer, field)
    kinds = gguf.GGMLQuantizationType
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if kind == kinds.Q4_1:
            kind = kinds.Q4_0
            data = gguf.quantize(gguf.dequantize(tensor.data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(*sys.argv[1:])
