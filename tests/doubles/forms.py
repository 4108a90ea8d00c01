"""Reading a request of the type multipart/form-data, strictly, for the doubles of providers that take images."""

from email import policy
from email.parser import BytesParser

from tests.doubles.http1 import Request


def read_form(request: Request) -> tuple[dict[str, str], list[tuple[str, bytes, str]]]:
    """The fields, and the files as (field, bytes, content type) in their order. Raises ValueError for what is no form.

    Bytes are taken between the boundaries as they are: the mail parser only reads the headers.
    """
    content_type = request.headers.get("content-type", "")
    kind, _, rest = content_type.partition(";")
    boundary = rest.partition("boundary=")[2].strip('" ')
    mark = f"--{boundary}".encode()
    if kind != "multipart/form-data" or not boundary or not request.body.endswith(mark + b"--\r\n"):
        raise ValueError("no form")
    fields: dict[str, str] = {}
    files: list[tuple[str, bytes, str]] = []
    for part in request.body.split(mark)[1:-1]:
        head, found, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not found or not data.endswith(b"\r\n"):
            raise ValueError("a part without an end")
        headers = BytesParser(policy=policy.HTTP).parsebytes(head + b"\r\n\r\n")
        name = headers["content-disposition"].params["name"]
        if headers["content-disposition"].params.get("filename"):
            files.append((name, data[:-2], headers.get_content_type()))
        else:
            fields[name] = data[:-2].decode()
    return fields, files
