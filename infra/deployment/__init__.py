"""The functions that run inside a deployment: they make its schedules, migrate its database, and try it out.

CloudFormation asks them through CDK's Provider framework, and a deployment stops with the sentence that one of them raises.
"""
