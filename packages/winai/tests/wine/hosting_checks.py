"""Our agents as actions: what Windows calls of ours, called as Windows does, through COM."""

import ctypes
import threading
import uuid

import anyio
import anyio.to_thread
import pytest
from actions import Context, EntityObject
from calling import POINTER, Caller, called, created, face
from com import Component, plain_pointer
from sashizu_winai._winrt import PyWinRtBackend
from sashizu_winai.capabilities import Capability
from sashizu_winai.entities import Entity, EntityKind
from sashizu_winai.errors import Denied
from sashizu_winai.hosting.calls import HostedAnswer

CLASS = uuid.UUID("7f3a0c1e-2d64-4b35-9a0e-5d1a6b2c9e10")
PROVIDER = "Windows.AI.Actions.Provider.IActionProvider"
DONE, CANCELED = 1, 2
LONGEST_S = 20.0
INFO = "Windows.Foundation.IAsyncInfo"


class Handler(Component):
    """What Windows is told of an end by. It is plain COM: slot 3 is `Invoke`."""

    of = "Windows.Foundation.AsyncActionCompletedHandler"

    def __init__(self):
        super().__init__(interfaces=[self.of])
        self.told, self.status = threading.Event(), None
        self._kept = plain_pointer(self, 3, self._invoke, POINTER, ctypes.c_int32)

    def _invoke(self, _operation, status):
        self.status = status
        self.told.set()
        return 0


class Provided:
    """Agents that answer as the test says."""

    actions = ()

    def __init__(self):
        self.calls, self.cancelled = [], 0
        self.answer = HostedAnswer("success", {"text": Entity(EntityKind.TEXT, "done, 語")})
        self.hangs = False

    async def invoke(self, call):
        self.calls.append(call)
        try:
            if self.hangs:
                await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        return self.answer


def invoked(provider, context, handler):
    operation = POINTER()
    given = context.face("Windows.AI.Actions.IActionInvocationContext")
    code = called(provider, 6, POINTER, POINTER)(provider, given, ctypes.byref(operation))
    assert code == 0, hex(code & 0xFFFFFFFF)
    end = handler.face(Handler.of)
    assert called(operation.value, 6, POINTER)(operation, end) == 0
    return operation.value


def status_of(operation):
    """The state of an operation: slot 7 of its `IAsyncInfo`."""
    number = ctypes.c_int32()
    information = face(operation, INFO)
    assert called(information, 7, POINTER)(information, ctypes.byref(number)) == 0
    return number.value


def cancelled(operation):
    information = face(operation, INFO)
    return called(information, 9)(information)


@pytest.fixture
async def provided(windows):
    backend, provider = PyWinRtBackend(), Provided()
    async with backend.hosted(provider, CLASS):
        yield provider
    await backend.aclose()


@pytest.fixture
def context(windows):
    made = Context("sashizu.reviewer")
    made.inputs["text"] = EntityObject("TextActionEntity", "TEXT", "review größe")
    return made


async def test_an_invocation_of_windows_becomes_a_call_and_its_answer_an_outcome(provided, context):
    caller, handler = Caller(), Handler()
    provider = await caller.do(created, CLASS, PROVIDER)
    operation = await caller.do(invoked, provider, context, handler)
    assert await anyio.to_thread.run_sync(handler.told.wait, LONGEST_S)
    assert handler.status == DONE
    assert await caller.do(status_of, operation) == DONE
    assert await caller.do(called(operation, 8), operation) == 0  # GetResults
    (call,) = provided.calls
    assert (call.action, call.invoker) == ("sashizu.reviewer", "Contoso.App")
    assert call.inputs == {"text": Entity("text", "review größe")}
    assert context.outputs["text"].text == "done, 語"
    assert (context.result, context.extended_error) == (0, 0)


async def test_what_went_wrong_reaches_windows_as_result_and_hresult(provided, context):
    provided.answer = HostedAnswer("unavailable", hresult=0x80004005)
    caller, handler = Caller(), Handler()
    provider = await caller.do(created, CLASS, PROVIDER)
    await caller.do(invoked, provider, context, handler)
    assert await anyio.to_thread.run_sync(handler.told.wait, LONGEST_S)
    assert context.result == 3
    assert context.extended_error & 0xFFFFFFFF == 0x80004005


async def test_windows_cancels_what_an_agent_does(provided, context):
    provided.hangs = True
    caller, handler = Caller(), Handler()
    provider = await caller.do(created, CLASS, PROVIDER)
    operation = await caller.do(invoked, provider, context, handler)
    assert await caller.do(status_of, operation) == 0
    assert await caller.do(cancelled, operation) == 0
    assert await anyio.to_thread.run_sync(handler.told.wait, LONGEST_S)
    assert handler.status == CANCELED
    assert provided.cancelled == 1


async def test_a_class_that_is_not_hosted_any_more_is_not_found(windows):
    backend, caller = PyWinRtBackend(), Caller()
    async with backend.hosted(Provided(), CLASS):
        assert await caller.do(created, CLASS, PROVIDER)
    with pytest.raises(Exception, match="0x80040154"):
        await caller.do(created, CLASS, PROVIDER)
    await backend.aclose()


async def test_without_the_identity_of_a_package_nothing_can_be_provided(windows):
    backend = PyWinRtBackend()
    with pytest.raises(Denied, match="no package identity"):
        await backend.probe(Capability.ACTIONS_PROVIDER)
    await backend.aclose()
