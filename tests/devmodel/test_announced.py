"""By which name firmware announces a device: what a schema may say, and that it is no part of the layout."""

import pytest

from vmm.devmodel import SchemaError, layout_device
from vmm.devmodel.schema import Device, queue, reg, u32


def layout(queues=None, **options):
    class Dev(Device, id=0, version=1, **options):
        """A device."""
        value = reg(0, u32, "x")
        if queues:
            request = queues
    return layout_device(Dev)


@pytest.mark.parametrize("options", [
    {"acpi": "SVMM0001"}, {"acpi": "SVM00FF"}, {"acpi": "80860003"}, {"acpi": "ACP0001"},
    {"compatible": "splitvmm,adder"}, {"compatible": "ALTR,ps2-1.0"}, {"compatible": "v," + "n" * 125}])
def test_name_is_kept_and_is_no_part_of_the_hash(options):
    given, plain = layout(**options), layout()
    assert {"acpi": given.acpi, "compatible": given.compatible} == {"acpi": "", "compatible": "", **options}
    assert (plain.acpi, plain.compatible) == ("", "")
    assert given.hash == plain.hash


MISTAKES = [
    ({"acpi": "SVMM001"}, "acpi 'SVMM001'; wanted a vendor's three"),     # M is no hexadecimal digit
    ({"acpi": "svmm0001"}, "acpi 'svmm0001'; wanted a vendor's three"),
    ({"acpi": "SV10001"}, "acpi 'SV10001'; wanted a vendor's three"),
    ({"acpi": "SVMM000a"}, "acpi 'SVMM000a'; wanted a vendor's three"),
    ({"acpi": "SVMM0001\n"}, "wanted a vendor's three"),
    ({"acpi": "SVMM00012"}, "wanted a vendor's three"),
    ({"acpi": "PRP0001"}, 'wanted compatible="vendor,name"'),
    ({"acpi": "ACPI0013"}, "wanted another vendor"),
    ({"acpi": ""}, "acpi ''; wanted a string"),
    ({"acpi": 1}, "acpi 1; wanted a string"),
    ({"compatible": "adder"}, 'compatible \'adder\'; wanted "vendor,name"'),
    ({"compatible": "a,b,c"}, 'wanted "vendor,name"'),
    ({"compatible": ",adder"}, 'wanted "vendor,name"'),
    ({"compatible": "splitvmm,"}, 'wanted "vendor,name"'),
    ({"compatible": "splitvmm,addér"}, 'wanted "vendor,name"'),
    ({"compatible": "v," + "n" * 126}, "127 characters at most"),
    ({"compatible": ["a,b"]}, "wanted a string"),
    ({"acpi": "SVMM0001", "compatible": "splitvmm,adder"}, "acpi= and compatible=; wanted one of them"),
    ({"acpi": "SVMM0001", "queues": queue("x")}, "acpi 'SVMM0001', and queues; wanted one or the other"),
    ({"compatible": "a,b", "queues": queue("x")}, "compatible 'a,b', and queues; wanted one or the other"),
]


@pytest.mark.parametrize("options, says", MISTAKES)
def test_mistakes(options, says):
    with pytest.raises(SchemaError) as error:
        layout(**options)
    assert error.value.where == "Dev" and says in str(error.value)
