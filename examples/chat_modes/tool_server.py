"""What does the supplier offer? Tools behind JSON-RPC, as the Model Context Protocol has them, served in this process.

The messages are the protocol's (`initialize`, `tools/list`, `tools/call`); between a real server and its client they
would go over a pipe or HTTP.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

__all__ = ("ToolClient", "ToolServer")

_PROTOCOL = "2025-06-18"
_UNKNOWN_METHOD = -32601
_WRONG_PARAMETERS = -32602
_STOCK = {"city bike": (85, 412.0), "kids bike": (12, 188.0)}
_RATES = {("USD", "EUR"): 0.92, ("EUR", "USD"): 1.09}


class RefusedError(Exception):
    """Raised for a request that the server cannot answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTool:
    """One tool: what it says of itself, and what it does."""

    name: str
    description: str
    parameters: Mapping[str, str]
    """Name → what it means; all are texts."""
    call: Callable[..., str]

    def described(self) -> dict[str, Any]:
        """The tool as `tools/list` shows it."""
        properties = {name: {"type": "string", "description": text} for name, text in self.parameters.items()}
        schema = {"type": "object", "properties": properties, "required": list(self.parameters)}
        return {"name": self.name, "description": self.description, "inputSchema": schema}


def _supplier_stock(product: str) -> str:
    if product not in _STOCK:
        raise ToolException(f"the supplier does not list {product!r}")
    number, price = _STOCK[product]
    return f"{number} of the {product} at the supplier, {price:.2f} USD each"


def _exchange_rate(source: str, target: str) -> str:
    if (source, target) not in _RATES:
        raise ToolException(f"no rate from {source} to {target}")
    return f"1 {source} = {_RATES[source, target]} {target}"


TOOLS = (
    ServedTool(
        name="supplier_stock",
        description="How many of a product the supplier has, and at what price.",
        parameters={"product": "such as city bike"},
        call=_supplier_stock,
    ),
    ServedTool(
        name="exchange_rate",
        description="The rate of the day between two currencies.",
        parameters={"source": "such as USD", "target": "such as EUR"},
        call=_exchange_rate,
    ),
)


class ToolServer:
    """Answers requests of the protocol, one JSON text each."""

    def __init__(self, tools: Sequence[ServedTool] = TOOLS) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._methods = {"initialize": self._initialize, "tools/list": self._list, "tools/call": self._call}

    def handle(self, request: str) -> str:
        """Answer a request; what cannot be answered is an error of JSON-RPC, what a tool refuses is a result."""
        said = json.loads(request)
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": said.get("id")}
        try:
            answer["result"] = self._methods.get(said["method"], _refuse)(said.get("params") or {})
        except RefusedError as error:
            answer["error"] = {"code": error.code, "message": str(error)}
        return json.dumps(answer)

    def _initialize(self, _: Mapping[str, Any]) -> dict[str, Any]:
        server = {"name": "supplier", "version": "1"}
        return {"protocolVersion": _PROTOCOL, "capabilities": {"tools": {}}, "serverInfo": server}

    def _list(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"tools": [tool.described() for tool in self._tools.values()]}

    def _call(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        tool, given = self._tools.get(parameters.get("name", "")), parameters.get("arguments") or {}
        if tool is None or set(given) != set(tool.parameters):
            raise RefusedError(
                _WRONG_PARAMETERS, f"no tool takes {sorted(given)} by the name {parameters.get('name')!r}"
            )
        try:
            text, is_error = tool.call(**given), False
        except ToolException as error:
            text, is_error = str(error), True
        return {"content": [{"type": "text", "text": text}], "isError": is_error}


def _refuse(_: Mapping[str, Any]) -> dict[str, Any]:
    raise RefusedError(_UNKNOWN_METHOD, "unknown method")


class ToolClient:
    """Makes a server's tools those of LangChain."""

    def __init__(self, server: ToolServer) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        hello = {"protocolVersion": _PROTOCOL, "capabilities": {}, "clientInfo": {"name": "chat", "version": "1"}}
        self._ask("initialize", hello)

    def tools(self) -> list[BaseTool]:
        """What the server offers."""
        return [self._tool(said) for said in self._ask("tools/list", {})["tools"]]

    def _tool(self, said: Mapping[str, Any]) -> BaseTool:
        def call(**arguments: Any) -> str:
            result = self._ask("tools/call", {"name": said["name"], "arguments": arguments})
            text = "\n".join(part["text"] for part in result["content"])
            if result["isError"]:
                raise ToolException(text)
            return text

        return StructuredTool.from_function(
            call, name=said["name"], description=said["description"], args_schema=dict(said["inputSchema"])
        )

    def _ask(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        request = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": parameters}
        answer = json.loads(self._server.handle(json.dumps(request)))
        if "error" in answer:
            raise ToolException(answer["error"]["message"])
        result: dict[str, Any] = answer["result"]
        return result
