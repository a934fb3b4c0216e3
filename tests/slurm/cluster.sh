#!/usr/bin/env bash
# A Slurm of two nodes on this machine, for tests: Debian's slurm-wlm and munge, a fake GPU a node.
#   tests/slurm/cluster.sh start | stop
# Run as root. It writes /etc/slurm/slurm.conf, so it will not touch a machine that has one.
set -euo pipefail
state=/var/tmp/recipe-butler-slurm
conf=/etc/slurm/slurm.conf

start() {
    command -v slurmctld slurmd munged >/dev/null || {
        echo "slurm-wlm and munge are not installed: apt-get install slurm-wlm munge" >&2
        exit 1
    }
    if [ -e "$conf" ] && ! grep -q "ClusterName=recipe-butler" "$conf"; then
        echo "$conf is another cluster's; run this on a machine without Slurm" >&2
        exit 1
    fi
    stop
    mkdir -p "$state"/{ctld,log,munge}
    chmod 700 "$state/munge"
    head -c 1024 /dev/urandom > "$state/munge/key"
    chmod 400 "$state/munge/key"
    munged --force --key-file="$state/munge/key" --socket="$state/munge/socket" \
        --pid-file="$state/munge/pid" --log-file="$state/munge/log" --seed-file="$state/munge/seed"
    local host cpus memory
    host=$(hostname -s)
    cpus=$(nproc)
    memory=$(awk '/MemTotal/ {print int($2 / 1024 / 2)}' /proc/meminfo)
    cat > "$conf" <<CONF
ClusterName=recipe-butler
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$state/munge/socket
CredType=cred/munge
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/spool-%n
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd-%n.pid
SlurmctldLogFile=$state/log/slurmctld.log
SlurmdLogFile=$state/log/slurmd-%n.log
SlurmctldPort=16817
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MpiDefault=none
GresTypes=gpu
KillWait=5
OverTimeLimit=0
MinJobAge=7200
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=node1 NodeHostname=$host Port=16821 CPUs=$cpus RealMemory=$memory Gres=gpu:1
NodeName=node2 NodeHostname=$host Port=16822 CPUs=$cpus RealMemory=$memory Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    # Any file does for a GPU that nobody opens.
    cat > /etc/slurm/gres.conf <<CONF
NodeName=node1 Name=gpu File=/dev/null
NodeName=node2 Name=gpu File=/dev/zero
CONF
    slurmctld
    slurmd -N node1
    slurmd -N node2
    for _ in $(seq 30); do
        [ "$(sinfo --noheader --Node --states=idle --format=%N 2>/dev/null | wc -l)" = 2 ] && return
        sleep 1
    done
    echo "the nodes did not come up; see $state/log" >&2
    exit 1
}

stop() {
    [ -e "$conf" ] && scontrol shutdown >/dev/null 2>&1 || true
    for pid in "$state"/*.pid "$state"/munge/pid; do
        [ -e "$pid" ] && kill "$(cat "$pid")" 2>/dev/null || true
    done
    sleep 1
    rm -rf "$state" "$conf" /etc/slurm/gres.conf
}

case "${1:-}" in
start) start ;;
stop) stop ;;
*) sed -n '2,4s/^# //p' "$0"; exit 2 ;;
esac
