"""What each account of the pipeline may do: `tests/k8s` holds the roles to it, `tests/cluster` a real API server."""

ALLOWED = {
    "deployer": """
        list nodes
        list pods *
        get,list,watch,create,patch deployments.apps model-serving model-stable
        get,list,watch,create,patch,delete deployments.apps model-serving model-canary
        get,create,patch horizontalpodautoscalers.autoscaling model-serving model-stable
        list replicasets.apps model-serving
        get,list pods model-serving
        get pods/log model-serving
        get,create pods/portforward model-serving
        list events model-serving
        get,create,patch services model-serving model
        get,create configmaps model-serving
        update configmaps model-serving rollout-history
        get,update leases.coordination.k8s.io model-serving rollout
        list endpointslices.discovery.k8s.io model-serving
    """,
    "pipeline": """
        list nodes
        list pods *
        get deployments.apps model-serving model-stable
        get deployments.apps model-serving model-canary
        get services model-serving model
        get configmaps model-serving rollout-history
    """,
    "monitor": """
        list endpointslices.discovery.k8s.io model-serving
        get configmaps model-serving
    """,
    "tuner": """
        create,get,list,delete jobs.batch model-pipeline
        list pods model-pipeline
        get pods/log model-pipeline
    """,
}
"""By account, a line for each right: verbs, resource, namespace (`*`: all; none: cluster-wide objects), name."""
