"""Every public name of pycos 4.12, with its signature."""

from __future__ import annotations

import pytest

from tests.compat.conftest import Programs

pytestmark = pytest.mark.live

LOCAL = (
    "Task Pycos Lock RLock Event Condition Semaphore AsyncSocket HotSwapException MonitorStatus Location Channel "
    "CategorizeMessages AsyncThreadPool AsyncDBCursor Singleton logger serialize deserialize Logger"
)
NET = f"{LOCAL} PeerStatus RPS RTI"
DISPYCOS = (
    "Scheduler Client Computation DispycosStatus DispycosTaskInfo DispycosNodeInfo DispycosNodeAvailInfo "
    "DispycosNodeAllocate"
)

SIGNATURES = """
netpycos.Task(fn=None, /, *args, **kwargs)
netpycos.Task.send(message)
netpycos.Task.deliver(message, timeout=None)
netpycos.Task.receive(timeout=None, alarm_value=None)
netpycos.Task.recv(timeout=None, alarm_value=None)
netpycos.Task.suspend(timeout=None, alarm_value=None)
netpycos.Task.sleep(timeout=None, alarm_value=None)
netpycos.Task.resume(update=None)
netpycos.Task.wakeup(update=None)
netpycos.Task.throw(*exception)
netpycos.Task.terminate()
netpycos.Task.value(timeout=None)
netpycos.Task.finish(timeout=None)
netpycos.Task.__call__(timeout=None)
netpycos.Task.monitor(observe)
netpycos.Task.notify(monitor)
netpycos.Task.is_alive()
netpycos.Task.set_daemon(flag=True)
netpycos.Task.hot_swappable(flag=True)
netpycos.Task.hot_swap(target, /, *args, **kwargs)
netpycos.Task.register(name=None)
netpycos.Task.unregister(name=None)
netpycos.Task.locate(name, location=None, timeout=None)
netpycos.Task.scheduler()
netpycos.SysTask(fn=None, /, *args, **kwargs)
netpycos.SysTask.locate(name, location=None, timeout=None)
netpycos.SysTask.register(name=None)
netpycos.SysTask.unregister(name=None)
netpycos.MonitorStatus(info, type, value=None)
netpycos.PeerStatus(location, name, status)
netpycos.Lock()
netpycos.Lock.acquire(blocking=True, timeout=-1)
netpycos.Lock.release()
netpycos.RLock()
netpycos.RLock.acquire(blocking=True, timeout=-1)
netpycos.Condition()
netpycos.Condition.acquire(blocking=True, timeout=-1)
netpycos.Condition.release()
netpycos.Condition.wait(timeout=None)
netpycos.Condition.notify(n=1)
netpycos.Condition.notify_all()
netpycos.Condition.notifyAll()
netpycos.Event()
netpycos.Event.set()
netpycos.Event.clear()
netpycos.Event.is_set()
netpycos.Event.isSet()
netpycos.Event.wait(timeout=None)
netpycos.Semaphore(value=1)
netpycos.Semaphore.acquire(blocking=True)
netpycos.Semaphore.release()
netpycos.Channel(name, transform=None)
netpycos.Channel.subscribe(subscriber, timeout=None)
netpycos.Channel.unsubscribe(subscriber, timeout=None)
netpycos.Channel.send(message)
netpycos.Channel.deliver(message, timeout=None, n=0)
netpycos.Channel.set_transform(transform)
netpycos.Channel.register()
netpycos.Channel.unregister()
netpycos.Channel.locate(name, location=None, timeout=None)
netpycos.Channel.close()
netpycos.CategorizeMessages(task)
netpycos.CategorizeMessages.add(categorize, /)
netpycos.CategorizeMessages.remove(categorize, /)
netpycos.CategorizeMessages.receive(category=None, timeout=None, alarm_value=None)
netpycos.CategorizeMessages.recv(category=None, timeout=None, alarm_value=None)
netpycos.AsyncThreadPool(num_threads)
netpycos.AsyncThreadPool.async_task(target=None, /, *args, **kwargs)
netpycos.AsyncThreadPool.join()
netpycos.AsyncThreadPool.terminate()
netpycos.AsyncDBCursor(thread_pool, cursor)
netpycos.AsyncDBCursor.execute(query, args=None)
netpycos.AsyncDBCursor.executemany(query, args)
netpycos.AsyncDBCursor.callproc(proc, args=())
netpycos.Logger(name, stream=__import__('sys').stdout, level=None, log_ms=False)
netpycos.Logger.setLevel(level)
netpycos.Logger.show_ms(flag)
netpycos.Logger.debug(msg, /, *args, **kwargs)
netpycos.Logger.info(msg, /, *args, **kwargs)
netpycos.Logger.warning(msg, /, *args, **kwargs)
netpycos.Logger.warn(msg, /, *args, **kwargs)
netpycos.Logger.error(msg, /, *args, **kwargs)
netpycos.Logger.critical(msg, /, *args, **kwargs)
netpycos.Logger.fatal(msg, /, *args, **kwargs)
netpycos.Logger.flush()
netpycos.Logger.shutdown()
netpycos.Struct(**kwargs)
netpycos.serialize(obj, /)
netpycos.deserialize(data, /)
netpycos.RTI(method, name=None)
netpycos.AsyncSocket(sock, blocking=False, keyfile=None, certfile=None, ssl_version=None)
netpycos.AsyncSocket.connect(addr)
netpycos.AsyncSocket.accept()
netpycos.AsyncSocket.recv(n, /)
netpycos.AsyncSocket.recvfrom(n, /)
netpycos.AsyncSocket.send(data, /)
netpycos.AsyncSocket.sendto(data, /, *address)
netpycos.AsyncSocket.recvall(n, /)
netpycos.AsyncSocket.sendall(data)
netpycos.AsyncSocket.send_msg(data)
netpycos.AsyncSocket.recv_msg()
netpycos.AsyncSocket.create_connection(address, timeout=None, source_address=None)
netpycos.AsyncSocket.settimeout(timeout)
netpycos.AsyncSocket.gettimeout()
netpycos.AsyncSocket.setblocking(flag)
netpycos.AsyncSocket.close()
netpycos.AsyncSocket.unwrap()
netpycos.AsyncSocket.setdefaulttimeout(timeout)
netpycos.AsyncSocket.getdefaulttimeout()
netpycos.AsyncSocket.get_ssl_version()
netpycos.AsyncSocket.set_ssl_version(ssl_version)
netpycos.Pycos.__init__(udp_port=9705, tcp_port=None, host=None, ext_host=None, socket_family=None, ipv4_udp_multicast=False, name=None, discover_peers=True, secret='', certfile=None, keyfile=None, notifier=None, dest_path=None, max_file_size=None)
netpycos.Pycos.instance()
netpycos.Pycos.scheduler()
netpycos.Pycos.cur_task()
netpycos.Pycos.is_alive()
netpycos.Pycos.join(show_running=False, timeout=None)
netpycos.Pycos.finish()
netpycos.Pycos.terminate()
netpycos.Pycos.atexit(priority, func, *args, **kwargs)
netpycos.Pycos.drop_atexit(priority, func)
netpycos.Pycos.peer(loc, udp_port=0, stream_send=False, relay=False)
netpycos.Pycos.close_peer(location, timeout=10)
netpycos.Pycos.discover_peers(port=None)
netpycos.Pycos.peers()
netpycos.Pycos.peer_status(task)
netpycos.Pycos.locate(name, timeout=None)
netpycos.Pycos.send_file(location, file, dir=None, overwrite=False, timeout=10)
netpycos.Pycos.del_file(location, file, dir=None, timeout=None)
netpycos.Pycos.host_ipaddr(host)
netpycos.Pycos.host_addrinfo(host=None, socket_family=None, ipv4_multicast=False)
netpycos.Location(host, tcp_port)
netpycos.RPS(method, name=None)
netpycos.RPS.register()
netpycos.RPS.unregister()
netpycos.RPS.locate(name, location=None, timeout=None)
netpycos.RPS.__call__(*args, **kwargs)
netpycos.RPS.monitor(task)
netpycos.RPS.close()
asyncfile.AsyncFile(fd)
asyncfile.AsyncFile.read(size=0, full=False, timeout=None)
asyncfile.AsyncFile.write(buf, full=False, timeout=None)
asyncfile.AsyncFile.readline(size=0, sizehint=100, timeout=None)
asyncfile.AsyncFile.close()
asyncfile.AsyncPipe(first, last=None)
asyncfile.AsyncPipe.read(size=0, timeout=None)
asyncfile.AsyncPipe.write(buf, full=False, timeout=None)
asyncfile.AsyncPipe.readline(size=0, sizehint=100, timeout=None)
asyncfile.AsyncPipe.read_stderr(size=0, timeout=None)
asyncfile.AsyncPipe.readline_stderr(size=0, sizehint=100, timeout=None)
asyncfile.AsyncPipe.communicate(input=None)
asyncfile.AsyncPipe.poll()
dispycos.Client(components=(), nodes=(), status_task=None, node_setup=None, server_setup=None, disable_nodes=False, disable_servers=False, pulse_interval=50, node_allocations=(), ping_interval=None, restart_servers=False, zombie_period=None, abandon_zombie_nodes=False)
dispycos.Client.schedule(location=None, timeout=None)
dispycos.Client.rtask(gen, /, *args, **kwargs)
dispycos.Client.run(gen, /, *args, **kwargs)
dispycos.Client.rtask_at(where, gen, /, *args, **kwargs)
dispycos.Client.run_at(where, gen, /, *args, **kwargs)
dispycos.Client.io_rtask(gen, /, *args, **kwargs)
dispycos.Client.run_async(gen, /, *args, **kwargs)
dispycos.Client.io_rtask_at(where, gen, /, *args, **kwargs)
dispycos.Client.run_async_at(where, gen, /, *args, **kwargs)
dispycos.Client.close(await_io=False, terminate=False, timeout=None)
dispycos.Client.nodes()
dispycos.Client.servers()
dispycos.Client.tasks(where=None)
dispycos.Client.enable_node(node, *setup_args)
dispycos.Client.enable_server(location, *setup_args)
dispycos.Client.suspend_node(node)
dispycos.Client.resume_node(node)
dispycos.Client.suspend_server(location)
dispycos.Client.resume_server(location)
dispycos.Client.close_server(location, terminate=False, restart=False)
dispycos.Client.restart_server(location, terminate=False)
dispycos.Client.close_node(node, terminate=False)
dispycos.Client.restart_node(node, *setup_args, terminate=False)
dispycos.Client.node_allocate(allocation)
dispycos.Client.abandon_zombie(location, flag=True)
dispycos.DispycosStatus(status, info)
dispycos.DispycosTaskInfo(task, args, kwargs)
dispycos.DispycosNodeInfo(name, addr, cpus, platform, avail_info)
dispycos.DispycosNodeAvailInfo(location, cpu=None, memory=None, disk=None, swap=None)
dispycos.DispycosNodeAllocate(node, port=None, platform='', cpus=None, memory=None, disk=None)
dispycos.DispycosNodeAllocate.allocate(ip_addr, name, platform, cpus, memory, disk)
dispycos.Scheduler(**kwargs)
dispycos.Scheduler.status()
dispycos.Scheduler.print_status()
dispycos.Scheduler.close()
httpd.HTTPServer(client=None, host='', port=8181, poll_sec=10, DocumentRoot=None, keyfile=None, certfile=None, show_task_args=True)
dispycos.Computation(components=(), nodes=(), status_task=None, node_setup=None, server_setup=None, disable_nodes=False, disable_servers=False, pulse_interval=50, node_allocations=(), ping_interval=None, restart_servers=False, zombie_period=None, abandon_zombie_nodes=False)
httpd.HTTPServer.shutdown(wait=True)
"""  # noqa: E501

NUMBERS = {
    "NodeIgnore": 1, "NodeDiscovered": 2, "NodeInitialized": 3, "NodeSuspended": 4, "NodeResumed": 5, "NodeClosed": 6,
    "NodeDisconnected": 7, "NodeAbandoned": 8, "ServerDiscovered": 12, "ServerInitialized": 13, "ServerSuspended": 14,
    "ServerResumed": 15, "ServerClosed": 16, "ServerDisconnected": 17, "ServerAbandoned": 18, "TaskStarted": 21,
    "TaskCreated": 21, "TaskFinished": 22, "ClientScheduled": 31, "ClientClosed": 32,
}  # fmt: skip

COMPARE = """
import functools, inspect, pycos.asyncfile, pycos.httpd, pycos.dispycos, pycos.netpycos
from inspect import Parameter
modules = dict(netpycos=pycos.netpycos, asyncfile=pycos.asyncfile, dispycos=pycos.dispycos, httpd=pycos.httpd)

def plain(function, method):
    parameters = list(inspect.signature(function).parameters.values())
    return parameters[1:] if parameters and parameters[0].name in ("self", "cls") else parameters

for line in open("promised"):
    path, _, rest = line.strip().partition("(")
    head, *names = path.split(".")
    there = plain(functools.reduce(getattr, names, modules[head]), len(names) > 1)
    promised = inspect.signature(eval(f"lambda {rest[:-1]}: 0")).parameters.values()
    anything = {p.kind for p in there if p.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)}
    for place, wanted in enumerate(promised):
        if wanted.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            good = wanted.kind in anything
        elif wanted.kind is Parameter.POSITIONAL_ONLY:
            good = place < len(there) and there[place].default == wanted.default or len(anything) == 2
        elif wanted.kind is Parameter.KEYWORD_ONLY:
            good = any((p.name, p.default) == (wanted.name, wanted.default) for p in there)
        else:
            same = place < len(there) and (there[place].name, there[place].default) == (wanted.name, wanted.default)
            good = same or len(anything) == 2
        if not good:
            print(line.strip(), "takes no", wanted, "there, but", *there, sep=" ")
            break
    else:
        for more in there[len(promised):]:
            if more.default is Parameter.empty and more.kind not in anything:
                print(line.strip(), "also wants", more)
        print("good")
"""


def test_modules_offer_the_names(local: Programs) -> None:
    lines = local.run(
        "import pycos\nfrom pycos import *\nprint(sorted(pycos.__all__))\n"
        "print(pycos.Task.scheduler() is pycos.Pycos())\n"
        "import pycos.netpycos, pycos.dispycos, pycos.asyncfile, pycos.config\n"
        "for module in pycos.netpycos, pycos.dispycos, pycos.asyncfile: print(sorted(module.__all__))\n"
        "print(all(hasattr(m, n) for m in (pycos.netpycos, pycos.dispycos, pycos.asyncfile) for n in m.__all__))\n"
        "for name in 'Struct SysTask config MsgTimeout PickleProtocolVersion PeerStatus RPS RTI'.split():\n"
        "    getattr(pycos, name)\n"
        "for name in 'MinPulseInterval MaxPulseInterval MsgTimeout Location Task SysTask MonitorStatus'.split():\n"
        "    getattr(pycos.dispycos, name)\n"
        "print(pycos.RTI is pycos.RPS, pycos.dispycos.Computation is pycos.dispycos.Client)\n"
        "c = pycos.config\nprint(c.MsgTimeout, c.MaxConnectionErrors, c.NetPort, c.MinPulseInterval,\n"
        "    c.MaxPulseInterval, c.DispycosSchedulerPort, c.DispycosNodePort, c.PickleProtocolVersion,\n"
        "    c.IPV4_MULTICAST_GROUP)\n"
        "print(pycos.PeerStatus.Online, pycos.PeerStatus.Offline, pycos.Logger.DEBUG, pycos.Logger.FATAL)\n"
    )  # fmt: skip
    assert lines == [
        str(sorted(LOCAL.split())),
        "True",
        str(sorted(NET.split())),
        str(sorted(DISPYCOS.split())),
        "['AsyncFile', 'AsyncPipe']",
        "True",
        "True True",
        "10 10 9705 10 100 9705 9706 None 239.255.97.5",
        "1 0 10 50",
    ]


def test_signatures(local: Programs) -> None:
    (local.folder / "promised").write_text(SIGNATURES.strip() + "\n")
    assert set(lines := local.run(COMPARE)) == {"good"}
    assert len(lines) == len(SIGNATURES.strip().splitlines())


def test_numbers_of_statuses(local: Programs) -> None:
    lines = local.run(
        f"from pycos.dispycos import *\nprint([getattr(Scheduler, name) for name in {list(NUMBERS)!r}])\n"
        "print(Scheduler.TaskAbandoned.__name__, Scheduler.TaskTerminated.__name__)\n"
    )
    assert lines == [str(list(NUMBERS.values())), "TaskAbandoned TaskTerminated"]
