package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// usage is processor time by process, in seconds.
type usage struct {
	names   []string // in the order in which they are told
	seconds map[string]float64
}

// self is this process: the plain client is part of it, and so is the load of either side.
const self = "bench"

// ticksPerSecond is the unit of /proc/PID/stat: USER_HZ, 100 on every architecture that Linux runs Go on.
const ticksPerSecond = 100

// cpuNow reads what every process of the network has used so far. One that does not run has used nothing.
func cpuNow(net *fabric.Network) usage {
	u := usage{seconds: map[string]float64{}}
	add := func(name string, pid int) {
		u.names = append(u.names, name)
		if pid == 0 {
			return
		}
		if raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
			u.seconds[name], _ = cpuSeconds(raw) // 0 where the system does not tell
		}
	}
	for _, p := range net.Processes() {
		add(p.Name, p.Pid())
	}
	add(self, os.Getpid())
	return u
}

// cpuSeconds reads user and system time from a line of /proc/PID/stat: fields 14 and 15.
func cpuSeconds(stat []byte) (float64, error) {
	// pid (name) state …: the name may hold anything, so fields are counted from its end.
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errors.New("no process name")
	}
	f := strings.Fields(string(stat[end+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("%d fields", len(f))
	}
	var ticks uint64
	for _, x := range f[11:13] {
		n, err := strconv.ParseUint(x, 10, 63)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return float64(ticks) / ticksPerSecond, nil
}

// since is what was used from an earlier reading to this one.
func (u usage) since(before usage) usage {
	d := usage{names: u.names, seconds: map[string]float64{}}
	for _, n := range u.names {
		d.seconds[n] = max(0, u.seconds[n]-before.seconds[n])
	}
	return d
}

// kind groups processes for a note: peer-beijing is a peer.
func kind(name string) string {
	k, _, _ := strings.Cut(name, "-")
	if k == fabric.Contract {
		return "chaincode"
	}
	return k
}

// perRecord tells milliseconds of processor time a record, by kind of process.
func (u usage) perRecord(records int) string {
	var kinds []string
	sum, total := map[string]float64{}, 0.0
	for _, n := range u.names {
		k := kind(n)
		if _, ok := sum[k]; !ok {
			kinds = append(kinds, k)
		}
		sum[k] += u.seconds[n]
		total += u.seconds[n]
	}
	parts := []string{fmt.Sprintf("%.3f ms a record", total*1000/float64(records))}
	for _, k := range kinds {
		parts = append(parts, fmt.Sprintf("%s %.3f", k, sum[k]*1000/float64(records)))
	}
	return strings.Join(parts, ", ")
}

// cpuTable shows two runs beside each other, each in milliseconds a record and as a share.
func cpuTable(node, plain *side) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"processor time", "node: ms a record", "share", "plain: ms a record", "share"})
	total := [2]float64{}
	cells := func(name string) table.Row {
		row := table.Row{name}
		for _, s := range []*side{node, plain} {
			all := 0.0
			for _, x := range s.cpu.seconds {
				all += x
			}
			row = append(row, fmt.Sprintf("%.4f", s.cpu.seconds[name]*1000/float64(s.records)), fmt.Sprintf("%.0f %%", 100*s.cpu.seconds[name]/max(all, 0.01)))
		}
		return row
	}
	for _, n := range node.cpu.names {
		t.AppendRow(cells(n))
	}
	for i, s := range []*side{node, plain} {
		for _, x := range s.cpu.seconds {
			total[i] += x * 1000 / float64(s.records)
		}
	}
	t.AppendFooter(table.Row{"all", fmt.Sprintf("%.4f", total[0]), "", fmt.Sprintf("%.4f", total[1]), ""})
	return t.Render()
}
