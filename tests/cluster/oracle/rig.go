package oracle

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// The Services by which the oracle sees that both sides know what was written before.
const markerName = "oracle-marker"

// Side gives the names of one of the two gateways.
type Side func() (Names, error)

// Rig is an API with the two gateways that read it.
type Rig struct {
	API *API
	// The API of a second cluster, if there is one.
	Other  *API
	Istiod Side
	Strait Side
	marker int
}

// The time in which both sides must have settled, on a busy machine.
const settleTime = 3 * time.Minute

// Settle waits until both sides know a Service that is made now, and have said nothing new for a while.
func (r *Rig) Settle(quiet time.Duration) (istiod, strait Names, err error) {
	r.marker++
	var markers []string
	for n, api := range []*API{r.API, r.Other} {
		if api == nil {
			continue
		}
		marker := marker(fmt.Sprintf("%s-%d-%d", markerName, n+1, r.marker))
		if err := api.Apply(marker); err != nil {
			return nil, nil, err
		}
		defer func() {
			if failed := api.Delete(marker, 0); err == nil {
				err = failed
			}
		}()
		markers = append(markers, "outbound_.80_._."+marker.Name()+".istio-system.svc.cluster.local")
	}
	knows := func(names Names) bool {
		return !slices.ContainsFunc(markers, func(name string) bool { _, known := names[name]; return !known })
	}
	begin, since := time.Now(), time.Now()
	for time.Since(begin) < settleTime {
		time.Sleep(200 * time.Millisecond)
		nowIstiod, err := r.Istiod()
		if err != nil {
			return nil, nil, err
		}
		nowStrait, err := r.Strait()
		if err != nil {
			return nil, nil, err
		}
		if !same(nowIstiod, istiod) || !same(nowStrait, strait) {
			istiod, strait, since = nowIstiod, nowStrait, time.Now()
			continue
		}
		if knows(istiod) && knows(strait) && time.Since(since) > quiet {
			return istiod, strait, nil
		}
	}
	return nil, nil, fmt.Errorf("not settled after %v; known to istiod: %v, to strait: %v", settleTime, knows(istiod), knows(strait))
}

// marker is a Service without endpoints.
func marker(name string) Object {
	return Complete(Object{
		"kind": "Service", "spec": map[string]any{"ports": []any{map[string]any{"port": 80}}},
		"metadata": map[string]any{"name": name, "annotations": map[string]any{"networking.istio.io/exportTo": "*"}},
	}, "istio-system")
}

func same(a, b Names) bool { return maps.EqualFunc(a, b, slices.Equal[[]string]) }
